package nidek_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/hostd/hostd/core/protocols/examtest"
	"github.com/hostd/hostd/core/protocols/nidek"
	"github.com/hostd/hostd/core/protocols/xmlexam"
	"github.com/hostd/hostd/core/sdk/exam"
)

// inJPG looks where an NT unit leaves its images: in JPG beside TXT.
func inJPG(path string) func(string) bool {
	return func(name string) bool {
		_, err := os.Stat(filepath.Join(filepath.Dir(path), "..", "JPG", name))
		return err == nil
	}
}

func TestSamples(t *testing.T) {
	examtest.Samples(t, "testdata", 11, func(path string, data []byte) exam.Result {
		return nidek.Decode(data, xmlexam.Options{HasFile: inJPG(path)})
	})
}

func FuzzDecode(f *testing.F) {
	examtest.Seed(f, "testdata")
	f.Fuzz(func(t *testing.T, data []byte) {
		examtest.Bounded(t, data, func() exam.Result { return nidek.Decode(data, xmlexam.Options{}) })
	})
}
