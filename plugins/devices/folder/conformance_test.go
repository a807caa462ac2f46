package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/hostd/hostd/core/sdk/sdktest"
)

func TestConformance(t *testing.T) {
	if testing.Short() {
		t.Skip("short: the suite runs the plugin as it is shipped, which the race detector does not see")
	}
	const sample = "../../../core/protocols/joia/testdata/0734_20250324_103140_TOPCON_KR-800S_7700421.xml"
	xml, err := os.ReadFile(sample)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(xml, []byte("7700421")) && !bytes.Contains(xml, []byte("<")) {
		t.Fatal("sample is not what it was")
	}
	sdktest.RunDevice(t, sdktest.Device{Instrument: func(t testing.TB) sdktest.Instrument {
		dir, next := t.TempDir(), 0
		return sdktest.Instrument{
			Settings: map[string]any{"dir": dir, "format": "joia", "settle": "0s", "existing": "import"},
			Produce: func(n int) {
				for range n {
					next++
					name := filepath.Join(dir, fmt.Sprintf("%04d_exam.xml", next))
					content := append(bytes.Clone(xml), fmt.Sprintf("<!-- %d -->", next)...)
					if err := os.WriteFile(name+".part", content, 0o600); err != nil {
						t.Fatal(err)
					}
					if err := os.Rename(name+".part", name); err != nil {
						t.Fatal(err)
					}
				}
			},
		}
	}})
}
