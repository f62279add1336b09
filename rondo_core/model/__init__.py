"""What a store is: labels, schemas, statistics, the layout of a ring; pure, no file is opened."""
