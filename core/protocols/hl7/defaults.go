package hl7

import "github.com/hostd/hostd/core/sdk/exam"

// eyeSystem is the coding system under which a sender writes our own codes in OBX-3 and OBX-17.
const eyeSystem = "99EYE"

// DefaultRules are the built-in ones: our own codes under 99EYE, LOINC's pressures by side, SNOMED CT's refraction and
// pressure, and the monitor's codes of IEEE 11073-10101 (MDC); eyes by SNOMED CT, HL7 table 0163 and habit; units by UCUM,
// MDC and habit.
func DefaultRules() Rules {
	r := Rules{
		Observations: []Rule{
			{Code: "79892-6", System: "LN", As: exam.CodeIOP, Eye: exam.Right},
			{Code: "79893-4", System: "LN", As: exam.CodeIOP, Eye: exam.Left},
			{Code: "251795007", System: "SCT", As: exam.CodeSphere},
			{Code: "251797004", System: "SCT", As: exam.CodeCylinder},
			{Code: "251799001", System: "SCT", As: exam.CodeAxis},
			{Code: "397282003", System: "SCT", As: exam.CodeAdd},
			{Code: "41633001", System: "SCT", As: exam.CodeIOP},
			{Code: "147842", System: "MDC", As: exam.CodeHeartRate},
			{Code: "150456", System: "MDC", As: exam.CodeSpO2},
		},
		Sites: map[string]string{
			"18944008": exam.Right, "8966001": exam.Left,
			"OD": exam.Right, "OS": exam.Left, "OU": exam.Both,
		},
		Methods: map[string]string{"389150000": exam.MethodTono},
		Units: map[string]string{
			"[diop]": exam.UnitDioptre, "D": exam.UnitDioptre, "dpt": exam.UnitDioptre,
			"[p'diop]": exam.UnitPrism, "prism": exam.UnitPrism,
			"mm[Hg]": exam.UnitMMHg, "mmHg": exam.UnitMMHg, "266016": exam.UnitMMHg, "kPa": exam.UnitKPa,
			"deg": exam.UnitDegree, "°": exam.UnitDegree,
			"mm": exam.UnitMM, "cm": exam.UnitCM, "um": exam.UnitUM, "µm": exam.UnitUM, "μm": exam.UnitUM,
			"%": exam.UnitPercent, "262688": exam.UnitPercent,
			"s": exam.UnitSecond, "a": exam.UnitYear,
			"1/min": exam.UnitPerMin, "/min": exam.UnitPerMin, "{beats}/min": exam.UnitPerMin, "264864": exam.UnitPerMin,
		},
	}
	for _, code := range exam.Codes() {
		r.Observations = append(r.Observations, Rule{Code: code, System: eyeSystem, As: code})
	}
	return r
}
