"""The transport of snapshots: the only code of the core that sends Redis commands."""
