package lineprofile

// Matcher gives what matches as a rule does, beside what package regexp has, and whether it walks.
func Matcher(expression string, blanks bool) (match func(text string) (own, as []int), walks bool, err error) {
	m, err := compile(expression, blanks)
	if err != nil {
		return nil, false, err
	}
	return func(text string) (own, as []int) {
		if own = make([]int, m.slots()); !m.find(text, len(text)-len(unblank(text)), own) {
			own = nil
		}
		return own, m.re.FindStringSubmatchIndex(text)
	}, m.steps != nil, nil
}

// Sound says whether the checksum of a piece is right, if the profile has one.
func (p *Profile) Sound(piece *Piece) bool {
	_, ok := p.body(piece.Data)
	return ok
}

// Decimal is what reads a number.
func Decimal(text string, shift int) (n float64, plain, ok bool) { return decimal(text, shift) }
