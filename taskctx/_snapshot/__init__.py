"""What travels: the snapshot, its keys, its stored form and its lifetime."""
