package stored_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/stored"
)

func TestReport(t *testing.T) {
	r := journal.WorkerReport{Worker: uuid.New(), Owner: `a "host"/1 ё`, Facts: []byte(`{"a": "b c"}`)}
	packed := stored.PackReport(r, 1_000_000)
	r.Age = 3 * time.Second
	got, ok := stored.UnpackReport(packed, 4_000_000)
	if !ok {
		t.Fatalf("%q is not read", packed)
	}
	if d := cmp.Diff(r, got); d != "" {
		t.Error(d)
	}
	if got, ok := stored.UnpackReport(packed, 0); !ok || got.Age != 0 {
		t.Errorf("from the future: %+v %v", got, ok)
	}
	for _, broken := range []string{"", "x", "x 1 \"o\" {}", uuid.NewString() + " x \"o\" {}", uuid.NewString() + " 1 o {}", uuid.NewString() + ` 1 "o"{}`} {
		if got, ok := stored.UnpackReport([]byte(broken), 0); ok {
			t.Errorf("%q was read as %+v", broken, got)
		}
	}
}
