"""The boot tests, a module for each subject; QUICK and LONG name its tests."""
