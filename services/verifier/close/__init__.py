"""Close what is over: dispatches, agents and rooms."""
