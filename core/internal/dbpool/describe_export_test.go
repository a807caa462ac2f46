package dbpool

// Described says whether there are texts that describe a table of the driver.
func Described(driver string) bool {
	d := descriptions[driver]
	return d.keys != "" && d.filled != ""
}
