"""Every exercise: correct variants pass, usual mistakes are told apart."""
