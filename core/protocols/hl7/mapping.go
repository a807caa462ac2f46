package hl7

import (
	"fmt"
	"maps"
	"strings"
	"sync"

	"github.com/hostd/hostd/core/sdk/exam"
)

// Rules are a mapping as a configuration declares it, a block in the settings of a plugin. What they do not say is as in
// DefaultRules, unless Only.
type Rules struct {
	Observations []Rule            `setting:"observations" help:"which OBX is which observation; an OBX that none names keeps its own code"`
	Sites        map[string]string `setting:"sites" help:"eye of a body site in OBX-20, OBR-15 or SPM-8: the code, and R, L or B"`
	Methods      map[string]string `setting:"methods" help:"method of a code in OBX-17"`
	Units        map[string]string `setting:"units" help:"unit of the record for a unit code in OBX-6: D, deg, mmHg, mm ..."`
	Sentinels    []string          `setting:"sentinels" default:"-999,-100,8388607" help:"numbers that mean no value"`
	Only         bool              `setting:"only" help:"leave the built-in rules, sites, methods and units out"`
}

// Rule says what the OBX of one code is.
type Rule struct {
	Code   string `setting:"code,required" help:"OBX-3.1, or its alternate in OBX-3.4"`
	System string `setting:"system" help:"coding system beside the code (LN, SCT, MDC, L); empty is any"`
	As     string `setting:"as" help:"code of the observation: sphere, iop ...; empty keeps the source's"`
	Eye    string `setting:"eye" enum:"R,L,B" help:"eye that the code implies"`
	Method string `setting:"method" help:"method of the observation: autoref, tono ..."`
	Unit   string `setting:"unit" help:"unit code where OBX-6 is empty"`
}

// DefaultSentinels are the numbers that mean no value where a configuration names none.
func DefaultSentinels() []string { return []string{"-999", "-100", "8388607"} }

// Mapping is a compiled set of Rules. It may be used side by side.
type Mapping struct {
	rules     map[string][]Rule // by Code
	sites     map[string]string
	methods   map[string]string
	units     map[string]string
	sentinels map[float64]bool
}

// Compile checks the rules and makes them ready. An error names the key below the block: observations[2].eye.
func (r Rules) Compile() (*Mapping, error) {
	m := &Mapping{
		rules: map[string][]Rule{}, sites: map[string]string{}, methods: map[string]string{}, units: map[string]string{},
		sentinels: map[float64]bool{},
	}
	m.add(r)
	if !r.Only {
		m.add(DefaultRules())
	}
	for _, s := range r.Sentinels {
		f, _ := exam.ParseValue("", s).Float()
		m.sentinels[f] = true
	}
	return m, r.check()
}

// add takes what is not there yet: what was added first is asked first.
func (m *Mapping) add(r Rules) {
	for _, rule := range r.Observations {
		m.rules[rule.Code] = append(m.rules[rule.Code], rule)
	}
	for _, pair := range []struct{ into, from map[string]string }{{m.sites, r.Sites}, {m.methods, r.Methods}, {m.units, r.Units}} {
		own := maps.Clone(pair.into)
		maps.Copy(pair.into, pair.from)
		maps.Copy(pair.into, own)
	}
}

func (r Rules) check() error {
	for i, rule := range r.Observations {
		if strings.TrimSpace(rule.Code) == "" {
			return fmt.Errorf("observations[%d].code: is empty; write the code of OBX-3", i)
		}
		if rule.Eye != "" && !isEye(rule.Eye) {
			return fmt.Errorf("observations[%d].eye: must be R, L or B", i)
		}
	}
	for site, eye := range r.Sites {
		if !isEye(eye) {
			return fmt.Errorf("sites.%s: must be R, L or B", site)
		}
	}
	for name, list := range map[string]map[string]string{"methods": r.Methods, "units": r.Units} {
		for code, word := range list {
			if strings.TrimSpace(word) == "" {
				return fmt.Errorf("%s.%s: is empty; write our word for it", name, code)
			}
		}
	}
	for _, s := range r.Sentinels {
		if !exam.ParseValue("", s).IsNumber() {
			return fmt.Errorf("sentinels: every one must be a number")
		}
	}
	return nil
}

func isEye(s string) bool { return s == exam.Right || s == exam.Left || s == exam.Both }

// DefaultMapping is DefaultRules with DefaultSentinels.
func DefaultMapping() *Mapping { return defaultMapping() }

var defaultMapping = sync.OnceValue(func() *Mapping {
	m, err := Rules{Sentinels: DefaultSentinels()}.Compile()
	if err != nil {
		panic(err)
	}
	return m
})
