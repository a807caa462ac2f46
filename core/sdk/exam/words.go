package exam

// Methods of observations, before the suffixes.
const (
	MethodAutoref            = "autoref"
	MethodLensmeter          = "lensmeter"
	MethodLensmeterSingle    = "lensmeter_single" // side unknown
	MethodSubjective         = "subjective"
	MethodFinal              = "final"
	MethodUnaided            = "unaided"
	MethodCorrected          = "corrected"
	MethodFullCorrection     = "full_correction"
	MethodBestCorrection     = "best_correction"
	MethodPrescription       = "prescription"
	MethodObjective          = "objective"
	MethodCurrentSpectacles  = "current_spectacles"
	MethodLastPrescription   = "last_prescription"
	MethodRefractor          = "refractor" // a whole session
	MethodKerato             = "kerato"
	MethodTono               = "tono"
	MethodTonoCorrected      = "tono_corrected"
	MethodPachy              = "pachy"
	MethodBiometry           = "biometry"
	MethodAutorefContactLens = "autoref_contact_lens"
	MethodAutorefTrialLens   = "autoref_trial_lens"
	MethodAutorefDiff        = "autoref_diff"
	MethodRingImage          = "ring_image"
	MethodPachyImage         = "pachy_image"
	MethodAttachment         = "attachment"
)

// Suffixes of methods; near comes before night: final_near_night.
const (
	Near  = "_near"
	Night = "_night"
)

// Warnings of an exam.
const (
	WarnChecksumMissing       = "checksum_missing"
	WarnPatientIDBlank        = "patient_id_blank"
	WarnAttachmentAbsent      = "attachment_absent"
	WarnPlaceholderEye        = "placeholder_eye"
	WarnUnknownSegment        = "unknown_segment"
	WarnEncodingMislabelled   = "encoding_mislabelled"
	WarnCharsetUndeclared     = "charset_undeclared"
	WarnXMLFragment           = "xml_fragment"
	WarnPrismSignUndocumented = "prism_sign_undocumented"
	WarnEyeOrderUnconfirmed   = "eye_order_unconfirmed"
	WarnBrokenSegment         = "broken_segment"
	WarnSentinelValue         = "sentinel_value"
	WarnDuplicate             = "duplicate"
	WarnDuplicateFrame        = "duplicate_frame"
)

// Reasons of rejects.
const (
	RejectChecksum     = "checksum"
	RejectTruncated    = "truncated"
	RejectNoise        = "noise"
	RejectParity       = "parity"
	RejectMalformedXML = "malformed_xml"
	RejectMalformed    = "malformed" // not of its format, where that is not XML
	RejectEmpty        = "empty"
	RejectBadLength    = "bad_length"
	RejectNotDICOM     = "not_dicom"
	RejectTooLarge     = "too_large"
	RejectTooDeep      = "too_deep"
)
