package hl7

type charset struct{}

func (o Options) charsetOf(declared []byte, repetition byte) charset { return charset{} }
func (c charset) shift(b []byte) shift                               { return plain }
func designation(b []byte) (n int, wide bool)                        { return 0, false }
