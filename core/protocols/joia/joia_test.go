package joia_test

import (
	"testing"

	"github.com/hostd/hostd/core/protocols/examtest"
	"github.com/hostd/hostd/core/protocols/joia"
	"github.com/hostd/hostd/core/protocols/xmlexam"
	"github.com/hostd/hostd/core/sdk/exam"
)

func TestSamples(t *testing.T) {
	examtest.Samples(t, "testdata", 9, func(_ string, data []byte) exam.Result {
		return joia.Decode(data, xmlexam.Options{})
	})
}

func FuzzDecode(f *testing.F) {
	examtest.Seed(f, "testdata")
	f.Fuzz(func(t *testing.T, data []byte) {
		examtest.Bounded(t, data, func() exam.Result { return joia.Decode(data, xmlexam.Options{}) })
	})
}
