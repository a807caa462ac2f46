package exam

// Codes of observations; UnitOf tells their units.
const (
	CodeSphere       = "sphere"
	CodeCylinder     = "cylinder"
	CodeAxis         = "axis"
	CodeSE           = "se" // spherical equivalent
	CodeAdd          = "add"
	CodeAdd2         = "add2"
	CodeNearSphere   = "near_sphere"   // sphere of the near part of a lens
	CodeSphereDiff   = "sphere_diff"   // night minus day
	CodeCylinderDiff = "cylinder_diff" // night minus day
	CodeAxisDiff     = "axis_diff"     // night minus day
	CodePrismH       = "prism_h"       // + base in, - base out
	CodePrismV       = "prism_v"       // + base up, - base down
	CodePrism        = "prism"
	CodePrismBase    = "prism_base"
	CodePD           = "pd" // pupil distance: eye B total, R and L per eye

	CodeVertexDistance  = "vertex_distance"
	CodeWorkingDistance = "working_distance"
	CodeExamDistance    = "exam_distance"
	CodeVA              = "va"
	CodeVAExt           = "va_ext" // with letters right or wrong, blanks removed: 0.8+2
	CodeVAPinhole       = "va_pinhole"

	CodeK1        = "keratometry_k1" // flat
	CodeK2        = "keratometry_k2" // steep
	CodeKAvg      = "keratometry_avg"
	CodeKCyl      = "keratometry_cyl"
	CodeK1Radius  = "keratometry_k1_radius"
	CodeK2Radius  = "keratometry_k2_radius"
	CodeKAvgRad   = "keratometry_avg_radius"
	CodeK1Axis    = "keratometry_k1_axis"
	CodeK2Axis    = "keratometry_k2_axis"
	CodeKCylAxis  = "keratometry_cyl_axis"
	CodeIOP       = "iop"
	CodeIOPKPa    = "iop_kpa"
	CodeIOPCorr   = "iop_corrected" // for corneal thickness
	CodeIOPCorrKP = "iop_corrected_kpa"
	CodeCCT       = "cct" // central corneal thickness

	CodeCornealSize   = "corneal_size"
	CodePupilSize     = "pupil_size"
	CodePupilMax      = "pupil_max"
	CodePupilMin      = "pupil_min"
	CodeAxialLength   = "axial_length"
	CodeAccommodation = "accommodation"
	CodeNPC           = "npc" // near point of convergence

	CodeDivergenceBlur      = "divergence_blur"
	CodeDivergenceBreak     = "divergence_break"
	CodeDivergenceRecovery  = "divergence_recovery"
	CodeConvergenceBlur     = "convergence_blur"
	CodeConvergenceBreak    = "convergence_break"
	CodeConvergenceRecovery = "convergence_recovery"

	CodeConfidence      = "confidence"
	CodeQuality         = "quality"
	CodeLamp            = "lamp"
	CodeDominantEye     = "dominant_eye"
	CodeUVTransmittance = "uv_transmittance"
	CodeTestTime        = "test_time"
	CodeDuration        = "duration"
	CodeAge             = "age"

	CodeError      = "error"      // a failed shot, with the device's word: a finding, kept
	CodeAttachment = "attachment" // file name as sent; for embedded data type/subtype;bytes
	CodeReport     = "report"     // the same for a document
	CodeExamNo     = "exam_no"    // the device's running number; not a patient id
	CodeSystemNo   = "system_no"
	CodeExamType   = "exam_type"
	CodeSpecimen   = "specimen"
	CodeText       = "text"
	CodeNote       = "note"
	CodeHeartRate  = "heart_rate"
	CodeSpO2       = "spo2"
)

// Units as the record spells them.
const (
	UnitDioptre = "D"
	UnitDegree  = "deg"
	UnitPrism   = "prism"
	UnitMM      = "mm"
	UnitCM      = "cm"
	UnitUM      = "um"
	UnitMMHg    = "mmHg"
	UnitKPa     = "kPa"
	UnitPercent = "%"
	UnitSecond  = "s"
	UnitYear    = "a"
	UnitPerMin  = "1/min"
)

// Codes are the codes of this package, in the order of their constants.
func Codes() []string {
	return []string{
		CodeSphere, CodeCylinder, CodeAxis, CodeSE, CodeAdd, CodeAdd2, CodeNearSphere,
		CodeSphereDiff, CodeCylinderDiff, CodeAxisDiff, CodePrismH, CodePrismV, CodePrism,
		CodePrismBase, CodePD, CodeVertexDistance, CodeWorkingDistance, CodeExamDistance,
		CodeVA, CodeVAExt, CodeVAPinhole, CodeK1, CodeK2, CodeKAvg, CodeKCyl,
		CodeK1Radius, CodeK2Radius, CodeKAvgRad, CodeK1Axis, CodeK2Axis, CodeKCylAxis,
		CodeIOP, CodeIOPKPa, CodeIOPCorr, CodeIOPCorrKP, CodeCCT, CodeCornealSize,
		CodePupilSize, CodePupilMax, CodePupilMin, CodeAxialLength, CodeAccommodation,
		CodeNPC, CodeDivergenceBlur, CodeDivergenceBreak, CodeDivergenceRecovery,
		CodeConvergenceBlur, CodeConvergenceBreak, CodeConvergenceRecovery, CodeConfidence,
		CodeQuality, CodeLamp, CodeDominantEye, CodeUVTransmittance, CodeTestTime,
		CodeDuration, CodeAge, CodeError, CodeAttachment, CodeReport, CodeExamNo,
		CodeSystemNo, CodeExamType, CodeSpecimen, CodeText, CodeNote, CodeHeartRate,
		CodeSpO2,
	}
}

// UnitOf is the unit of a code of this package: empty for a code without unit, false for a foreign code.
func UnitOf(code string) (unit string, known bool) {
	switch code {
	case CodeSphere, CodeCylinder, CodeSE, CodeAdd, CodeAdd2, CodeNearSphere, CodeSphereDiff, CodeCylinderDiff,
		CodeK1, CodeK2, CodeKAvg, CodeKCyl, CodeAccommodation:
		return UnitDioptre, true
	case CodeAxis, CodeAxisDiff, CodePrismBase, CodeK1Axis, CodeK2Axis, CodeKCylAxis:
		return UnitDegree, true
	case CodePrismH, CodePrismV, CodePrism, CodeDivergenceBlur, CodeDivergenceBreak, CodeDivergenceRecovery,
		CodeConvergenceBlur, CodeConvergenceBreak, CodeConvergenceRecovery:
		return UnitPrism, true
	case CodePD, CodeVertexDistance, CodeK1Radius, CodeK2Radius, CodeKAvgRad, CodeCornealSize, CodePupilSize,
		CodePupilMax, CodePupilMin, CodeAxialLength:
		return UnitMM, true
	case CodeWorkingDistance, CodeExamDistance, CodeNPC:
		return UnitCM, true
	case CodeCCT:
		return UnitUM, true
	case CodeIOP, CodeIOPCorr:
		return UnitMMHg, true
	case CodeIOPKPa, CodeIOPCorrKP:
		return UnitKPa, true
	case CodeUVTransmittance, CodeSpO2:
		return UnitPercent, true
	case CodeTestTime, CodeDuration:
		return UnitSecond, true
	case CodeAge:
		return UnitYear, true
	case CodeHeartRate:
		return UnitPerMin, true
	case CodeVA, CodeVAExt, CodeVAPinhole, CodeConfidence, CodeQuality, CodeLamp, CodeDominantEye, CodeError,
		CodeAttachment, CodeReport, CodeExamNo, CodeSystemNo, CodeExamType, CodeSpecimen, CodeText, CodeNote:
		return "", true
	}
	return "", false
}

// IsIdentifier says that values of code are always texts, even where they look like numbers ("0058").
func IsIdentifier(code string) bool {
	switch code {
	case CodeExamNo, CodeSystemNo, CodeSpecimen, CodeExamType, CodeAttachment:
		return true
	}
	return false
}
