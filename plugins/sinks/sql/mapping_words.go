package main

import "github.com/hostd/hostd/core/sdk/exam"

// codes are hostd's own codes of observations.
func codes() []string {
	return []string{
		exam.CodeSphere, exam.CodeCylinder, exam.CodeAxis, exam.CodeSE, exam.CodeAdd, exam.CodeAdd2, exam.CodeNearSphere,
		exam.CodeSphereDiff, exam.CodeCylinderDiff, exam.CodeAxisDiff, exam.CodePrismH, exam.CodePrismV, exam.CodePrism,
		exam.CodePrismBase, exam.CodePD, exam.CodeVertexDistance, exam.CodeWorkingDistance, exam.CodeExamDistance,
		exam.CodeVA, exam.CodeVAExt, exam.CodeVAPinhole, exam.CodeK1, exam.CodeK2, exam.CodeKAvg, exam.CodeKCyl,
		exam.CodeK1Radius, exam.CodeK2Radius, exam.CodeKAvgRad, exam.CodeK1Axis, exam.CodeK2Axis, exam.CodeKCylAxis,
		exam.CodeIOP, exam.CodeIOPKPa, exam.CodeIOPCorr, exam.CodeIOPCorrKP, exam.CodeCCT, exam.CodeCornealSize,
		exam.CodePupilSize, exam.CodePupilMax, exam.CodePupilMin, exam.CodeAxialLength, exam.CodeAccommodation,
		exam.CodeNPC, exam.CodeDivergenceBlur, exam.CodeDivergenceBreak, exam.CodeDivergenceRecovery,
		exam.CodeConvergenceBlur, exam.CodeConvergenceBreak, exam.CodeConvergenceRecovery, exam.CodeConfidence,
		exam.CodeQuality, exam.CodeLamp, exam.CodeDominantEye, exam.CodeUVTransmittance, exam.CodeTestTime,
		exam.CodeDuration, exam.CodeAge, exam.CodeError, exam.CodeAttachment, exam.CodeReport, exam.CodeExamNo,
		exam.CodeSystemNo, exam.CodeExamType, exam.CodeSpecimen, exam.CodeText, exam.CodeNote, exam.CodeHeartRate,
		exam.CodeSpO2,
	}
}
