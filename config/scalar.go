package config

import (
	"reflect"
	"regexp"
	"strconv"
	"time"
)

// decimal is the only form of a whole number: 010 would be 8 and 1_0 would be 10.
var decimal = regexp.MustCompile(`^-?(0|[1-9][0-9]*)$`)

// wrong is why a value cannot be used, and what to write.
type wrong struct{ text, hint string }

// fromText makes the value of a single key out of the text of a reference, a variable or a flag.
func fromText(t reflect.Type, text string) (any, *wrong) {
	switch t {
	case typeDuration:
		return durationOf(text)
	case typePercent:
		return percentOf(text)
	case typeSecret:
		return Secret(text), nil
	}
	switch t.Kind() {
	case reflect.String:
		return text, nil
	case reflect.Int:
		return intOf(text)
	case reflect.Bool:
		if text == "true" || text == "false" {
			return text == "true", nil
		}
		return nil, &wrong{"must be true or false", ""}
	default:
		return nil, &wrong{"cannot be written as one text", "write it in a file"}
	}
}

func intOf(text string) (any, *wrong) {
	n, err := strconv.Atoi(text)
	if err != nil || !decimal.MatchString(text) {
		return nil, &wrong{"must be a whole number", "write plain digits"}
	}
	return n, nil
}

func durationOf(text string) (any, *wrong) {
	if _, err := strconv.ParseFloat(text, 64); err == nil {
		return nil, &wrong{"must be a time with its unit", "write a unit, e.g. " + text + "s"}
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return nil, &wrong{"must be a time with its unit", "write a unit, e.g. 5s, 2m or 1h30m"}
	}
	return d, nil
}

func percentOf(text string) (any, *wrong) {
	p, err := parsePercent(text)
	if err != nil {
		return nil, &wrong{"must be a whole percent", "write e.g. 85%"}
	}
	return p, nil
}
