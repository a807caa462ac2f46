package main

import (
	"fmt"

	"github.com/hostd/hostd/core/sdk/line"
)

// How driver and instrument talk.
const (
	handshake = "handshake" // the instrument asks, and sends when it is invited
	listen    = "listen"    // it just sends
)

// profile is what a kind of unit needs where the settings do not say otherwise (formats: serial lines). Its status is simulated
// for all: that of the grammar is in docs/devices/nidek-serial.md.
type profile struct {
	mode      line.Mode
	dialogue  string
	command   string // that invites it to send
	refractor bool
}

const simulated = "simulated"

// profileOf is the profile of a name; the setting's enum has the names.
func profileOf(name string) (profile, error) {
	even, odd := line.Mode{Baud: 9600, Parity: "even"}, line.Mode{Baud: 9600, Parity: "odd"}
	switch name {
	case "ar":
		return profile{mode: even, dialogue: handshake, command: "CRM"}, nil
	case "ark", "tonoref":
		return profile{mode: even, dialogue: handshake, command: "CRK"}, nil
	case "nt":
		return profile{mode: odd, dialogue: handshake, command: "CNt"}, nil
	case "lm":
		return profile{mode: even, dialogue: handshake, command: "CLM"}, nil
	case "lm-7":
		return profile{mode: line.Mode{Baud: 9600}, dialogue: handshake, command: "CLM"}, nil
	case "rt-type1":
		return profile{mode: line.Mode{Baud: 2400, DataBits: 7, Parity: "even", StopBits: 2}, dialogue: listen, refractor: true}, nil
	case "rt-type2":
		return profile{mode: odd, dialogue: listen, refractor: true}, nil
	}
	return profile{}, fmt.Errorf("profile %q: one of ar, ark, tonoref, nt, lm, lm-7, rt-type1, rt-type2", name)
}
