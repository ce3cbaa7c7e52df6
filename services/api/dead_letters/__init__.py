"""Dead letters over HTTP: list them, read one, put them back, delete one."""
