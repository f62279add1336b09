"""The machine on a software CPU (the package unicorn), for hosts without /dev/kvm."""
