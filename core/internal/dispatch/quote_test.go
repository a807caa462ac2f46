package dispatch

import (
	"errors"
	"strings"
	"testing"

	"github.com/hostd/hostd/core/internal/spool"
	"github.com/hostd/hostd/core/sdk"
)

func TestWithoutData(t *testing.T) {
	records := []spool.Ref{
		{Payload: []byte(`exam{"patient":{"id":"T-000421","name":"Hong 길동","birth":"1899-12-31"},"value":"-1.25"}`)},
		{Payload: []byte("raw Kim\x00Marked\xff")},
	}
	for _, c := range []struct{ in, want string }{
		{"insert exam: duplicate key", "insert exam: duplicate key"},
		{"column patient_name: a text that is longer than the column takes (40)", "column patient_name: a text that is longer than the column takes (40)"},
		{`row ("T-000421", "Hong 길동", 1899-12-31)`, `row ("***", "*** ***", ***)`},
		{"key (id)=(T-000421/x) of Marked", "key (id)=(***/x) of ***"},
		{"born 1899.12.31", "born ***.12.31"}, // another form: its longer parts
		{"id=000421", "id=***"},
		{"dial tcp 10.0.0.7:1433: refused", "dial tcp 10.0.0.7:1433: refused"},
		{"", ""},
	} {
		if got := withoutData(c.in, records); got != c.want {
			t.Errorf("%q became %q, want %q", c.in, got, c.want)
		}
	}
	if got := withoutData(strings.Repeat("길동 ", 5000), records); len(got) > maxText+len(cutShort) || strings.Contains(got, "길동") {
		t.Errorf("a long text became %d bytes: %.40q", len(got), got)
	}
	err := quiet(sdk.WithClass(sdk.ClassBusy, errors.New("locked by Marked")), records)
	if err.Error() != "locked by ***" || sdk.ClassOf(err) != sdk.ClassBusy {
		t.Errorf("%v of class %s", err, sdk.ClassOf(err))
	}
}
