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
	packed, err := stored.PackReport(r, 1_000_000)
	if err != nil {
		t.Fatal(err)
	}
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
	for _, broken := range []string{"", "x", "{}", `{"worker":"x","at":1}`, `{"at":1,"owner":"o"}`, `{"worker":"` + uuid.NewString() + `","at":"x"}`, string(packed[:len(packed)-1])} {
		if got, ok := stored.UnpackReport([]byte(broken), 0); ok {
			t.Errorf("%q was read as %+v", broken, got)
		}
	}
}
