package host

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hostd/hostd/config"
	"github.com/hostd/hostd/core/sdk"
)

// Sample is a commented entry of the configuration for a plugin, in YAML: what must be written stands, and has to be filled
// in; what may be stands behind a #, with its default.
func Sample(m *sdk.Manifest) string {
	var s sampler
	s.line(0, string(m.Role)+"s:")
	s.line(1, "- name: "+m.Name+"-1")
	s.line(2, "plugin: "+m.Name)
	if m.Polled {
		every := m.Every
		if every == "" {
			every = "2s"
		}
		s.line(2, "# schedule: {every: "+every+"}")
	}
	if len(m.Settings) > 0 {
		mark := "# " // the key alone would be an empty value
		if slices.ContainsFunc(m.Settings, func(k sdk.Setting) bool { return k.Required }) {
			mark = ""
		}
		s.line(2, mark+"settings:")
		s.settings(3, m.Settings, true)
	}
	return s.out.String()
}

type sampler struct{ out strings.Builder }

// sampleWidth is where help is broken into lines.
const sampleWidth = 100

func (s *sampler) line(depth int, text string) {
	s.out.WriteString(strings.Repeat("  ", depth) + text + "\n")
}

// settings writes a block; one that is not live stands behind a # as a whole.
func (s *sampler) settings(depth int, list []sdk.Setting, live bool) {
	for i := range list {
		k := &list[i]
		for _, line := range wrapped(helpOf(k), sampleWidth-2*depth) {
			s.line(depth, "# "+line)
		}
		here, mark := live && k.Required, "# "
		if here {
			mark = ""
		}
		switch k.Type {
		case sdk.TypeBlock:
			s.line(depth, mark+k.Name+":")
			s.block(depth, k.Fields, here, "  ")
		case sdk.TypeBlocks:
			s.line(depth, mark+k.Name+":")
			s.block(depth, k.Fields, here, "  - ")
		default:
			s.line(depth, mark+k.Name+": "+valueOf(k))
		}
	}
}

// block writes the settings of a block below its name; first is what stands before the first of them.
func (s *sampler) block(depth int, list []sdk.Setting, live bool, first string) {
	var in sampler
	in.settings(0, list, true)
	lead := first
	for line := range strings.Lines(in.out.String()) {
		text := lead + strings.TrimRight(line, "\n")
		if lead != "  " && strings.HasPrefix(line, "#") { // a comment begins no entry of a list
			text = strings.Repeat(" ", len(lead)) + strings.TrimRight(line, "\n")
		} else if lead != "  " {
			lead = strings.Repeat(" ", len(lead))
		}
		if !live {
			text = "# " + text
		}
		s.line(depth, text)
	}
}

// helpOf is what a person needs to know of a setting.
func helpOf(k *sdk.Setting) string {
	text := k.Help
	add := func(more string) {
		if text != "" && !strings.HasSuffix(text, ".") {
			text += "."
		}
		text = strings.TrimSpace(text + " " + more)
	}
	if k.Required {
		add("Required.")
	}
	if len(k.Enum) > 0 {
		add("One of " + strings.Join(k.Enum, ", ") + ".")
	}
	if bounds := boundsOf(k); bounds != "" {
		add(bounds + ".")
	}
	if k.Secret {
		add("A secret: write it as ${file:path} or ${env:NAME}.")
	}
	return text
}

func boundsOf(k *sdk.Setting) string {
	show := func(v float64) string {
		if k.Type == sdk.TypeDuration {
			return spanOf(v)
		}
		return strings.TrimSpace(strconv.FormatFloat(v, 'f', -1, 64) + " " + k.Unit)
	}
	switch {
	case k.Min != nil && k.Max != nil:
		return show(*k.Min) + " to " + show(*k.Max)
	case k.Min != nil:
		return "At least " + show(*k.Min)
	case k.Max != nil:
		return "At most " + show(*k.Max)
	case k.Unit != "":
		return "In " + k.Unit
	}
	return ""
}

// valueOf is the default, or an empty value of the type.
func valueOf(k *sdk.Setting) string {
	switch {
	case k.Secret:
		return `"${file:path}"`
	case k.Default != "" && k.Type == sdk.TypeString:
		return strconv.Quote(k.Default)
	case k.Default != "":
		return k.Default
	case len(k.Enum) > 0:
		return k.Enum[0]
	}
	switch k.Type {
	case sdk.TypeInt, sdk.TypeFloat:
		if k.Min != nil {
			return strconv.FormatFloat(*k.Min, 'f', -1, 64)
		}
		return "0"
	case sdk.TypeBool:
		return "false"
	case sdk.TypeDuration:
		if k.Min != nil {
			return spanOf(*k.Min)
		}
		return "0s"
	case sdk.TypeList:
		return "[]"
	case sdk.TypeMap, sdk.TypeTree:
		return "{}"
	case sdk.TypeString, sdk.TypeBlock, sdk.TypeBlocks:
	}
	return `""`
}

// spanOf writes seconds as a duration.
func spanOf(seconds float64) string {
	return config.Short(time.Duration(seconds * float64(time.Second)))
}

// wrapped breaks a text at spaces.
func wrapped(text string, width int) (lines []string) {
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines, line = append(lines, line), ""
		}
		line = strings.TrimSpace(line + " " + word)
	}
	if line != "" {
		lines = append(lines, line)
	}
	return lines
}

// Schema is the JSON Schema (draft 2020-12) of a plugin's settings, for editors.
func Schema(m *sdk.Manifest) ([]byte, error) {
	s := schemaOf(m.Settings)
	s["$schema"], s["title"] = "https://json-schema.org/draft/2020-12/schema", "settings of "+m.Name
	return json.MarshalIndent(s, "", "  ")
}

func schemaOf(list []sdk.Setting) map[string]any {
	properties, required := map[string]any{}, []string{}
	for i := range list {
		k := &list[i]
		properties[k.Name] = propertyOf(k)
		if k.Required {
			required = append(required, k.Name)
		}
	}
	s := map[string]any{"type": "object", "properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		s["required"] = required
	}
	return s
}

// durationForm is what time.ParseDuration takes, without the longest fractions.
const durationForm = `^[0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h)([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))*$`

func propertyOf(k *sdk.Setting) map[string]any {
	p := map[string]any{}
	switch k.Type {
	case sdk.TypeString:
		p["type"] = "string"
	case sdk.TypeInt, sdk.TypeFloat:
		p["type"] = map[sdk.SettingType]string{sdk.TypeInt: "integer", sdk.TypeFloat: "number"}[k.Type]
		if k.Min != nil {
			p["minimum"] = *k.Min
		}
		if k.Max != nil {
			p["maximum"] = *k.Max
		}
	case sdk.TypeBool:
		p["type"] = "boolean"
	case sdk.TypeDuration:
		p["type"], p["pattern"] = "string", durationForm
	case sdk.TypeList:
		p["type"], p["items"] = "array", map[string]any{"type": "string"}
	case sdk.TypeMap:
		p["type"], p["additionalProperties"] = "object", map[string]any{"type": "string"}
	case sdk.TypeTree:
		p["type"] = "object"
	case sdk.TypeBlock:
		p = schemaOf(k.Fields)
	case sdk.TypeBlocks:
		p["type"], p["items"] = "array", schemaOf(k.Fields)
	}
	if help := helpOf(k); help != "" {
		p["description"] = help
	}
	if len(k.Enum) > 0 {
		p["enum"] = k.Enum
	}
	if v := defaultOf(k); v != nil {
		p["default"] = v
	}
	return p
}

// defaultOf is the default as a value of JSON, nil where there is none, or it is shown by the help alone.
func defaultOf(k *sdk.Setting) any {
	switch {
	case k.Default == "" || k.Secret:
		return nil
	case k.Type == sdk.TypeString, k.Type == sdk.TypeDuration:
		return k.Default
	}
	var v any
	if err := json.Unmarshal([]byte(k.Default), &v); err != nil {
		return nil // a list in YAML's own form
	}
	return v
}

// describedText is a plugin's manifest for people.
func describedText(m *sdk.Manifest) string {
	var b strings.Builder
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%-12s %s\n", name, value)
		}
	}
	row("name", m.Name)
	row("version", m.Version)
	row("role", string(m.Role))
	row("speaks", m.Speaks)
	row("identity", m.Identity)
	row("loss window", m.LossWindow)
	if m.Polled {
		row("polled", "every "+m.Every)
	}
	b.WriteString("\n" + Sample(m))
	return b.String()
}
