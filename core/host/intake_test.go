package host

import (
	"errors"
	"strings"
	"testing"

	"github.com/hostd/hostd/core/internal/supervise"
	"github.com/hostd/hostd/core/internal/wire"
	"github.com/hostd/hostd/core/sdk"
)

// TestABatchThatBreaksTheContractIsToldHow holds what hostd status shows of one: the call, what is wrong, what to do.
func TestABatchThatBreaksTheContractIsToldHow(t *testing.T) {
	i := &intake{}
	i.routing.Store(&routing{})
	i.spare.New = func() any { return &scratch{} }
	for says, in := range map[string]*wire.Incoming{
		"position of 5000 bytes, the limit is 4096":    {Next: make([]byte, 5000)},
		"record 0 of the batch: record without an id":  {Records: [][]byte{{}}},
		"record 0 of the batch: record of 2000000 byt": {Records: [][]byte{make([]byte, 2_000_000)}},
	} {
		var none *string
		err := i.store(t.Context(), &supervise.DeviceBatch{In: in}, nil, &none)
		var refused *supervise.RefusedError
		if !errors.As(err, &refused) || refused.Reason != sdk.ReasonInvalid {
			t.Fatalf("store = %v, want a refusal as invalid", err)
		}
		for _, want := range []string{"the plugin breaks the contract in Read: ", says, "hostd plugins test"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q does not say %q", err, want)
			}
		}
	}
}
