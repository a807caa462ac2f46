package lineprofile

// Match matches as a rule does, and as package regexp does.
func Match(expression string, blanks bool, text string) (own, as []int, walked bool) {
	m, err := compile(expression, blanks)
	if err != nil {
		return nil, nil, false
	}
	return m.find(text, nil), m.re.FindStringSubmatchIndex(text), m.steps != nil
}
