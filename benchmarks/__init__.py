"""What genesis_trio costs, measured; `make bench` runs all of it, each script runs alone as well."""
