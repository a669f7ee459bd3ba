"""What `bench/run --only io` measures: a disk and a network, natively and in machines."""
