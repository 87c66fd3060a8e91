"""For people who take the course: its years, its package's name, and their own code beside fastfc's."""
