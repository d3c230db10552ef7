"""Studies: runs that choose their own next cases until targets hold."""
