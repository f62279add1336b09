"""The machine on /dev/kvm: ioctl and mmap, no C."""
