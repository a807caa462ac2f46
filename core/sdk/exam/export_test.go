package exam

// DecodeOwn is what Decode tries first, and DecodeAny what it does else.
func DecodeOwn(data []byte) (*Exam, bool)  { return decodeOwn(string(data)) }
func DecodeAny(data []byte) (*Exam, error) { return decodeAny(data) }
