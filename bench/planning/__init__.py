"""What a configuration will take, and whether it can be run, before anything runs."""
