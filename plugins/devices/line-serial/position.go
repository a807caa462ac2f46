package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/hostd/hostd/core/sdk"
)

// place is how far the driver has come.
type place struct {
	stored int64  // frames that were stored
	last   string // SHA-256 of the last one, in hex; empty before the first
	told   bool   // the instrument had its answer
}

func (p place) position() sdk.Position {
	last, told := p.last, "waits"
	if last == "" {
		last = "-"
	}
	if p.told {
		told = "told"
	}
	return sdk.Position(fmt.Sprintf("%d %s %s", p.stored, last, told))
}

// placeOf reads a position of this driver; the empty one is the beginning.
func placeOf(from sdk.Position) (p place, err error) {
	if from == "" {
		return place{}, nil
	}
	var told string
	_, err = fmt.Sscanf(string(from), "%d %s %s", &p.stored, &p.last, &told)
	p.last, p.told = strings.TrimPrefix(p.last, "-"), told == "told"
	if err != nil || p.stored < 0 || p.position() != from {
		return place{}, errors.New("the position is none of this driver: hostd devices reset lets it begin anew")
	}
	return p, nil
}
