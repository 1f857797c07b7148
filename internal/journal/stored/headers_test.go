package stored

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"invoicebox-worker/schemas"
)

func TestHeadersComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var hs []schemas.Header
		for range rapid.IntRange(0, 5).Draw(t, "n") {
			hs = append(hs, schemas.Header{Key: rapid.String().Draw(t, "key"), Value: rapid.SliceOf(rapid.Byte()).Draw(t, "value")})
		}
		got, err := UnpackHeaders(PackHeaders(hs))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(hs, got, cmpopts.EquateEmpty()); d != "" {
			t.Fatal(d)
		}
	})
}

func FuzzUnpackHeaders(f *testing.F) {
	f.Add(PackHeaders([]schemas.Header{{Key: "a", Value: []byte("b")}}))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01})
	f.Fuzz(func(t *testing.T, b []byte) {
		hs, err := UnpackHeaders(b)
		if err != nil {
			return
		}
		// What can be read is written in one way only.
		if again, err := UnpackHeaders(PackHeaders(hs)); err != nil || !cmp.Equal(hs, again) {
			t.Fatalf("%v, then %v (%v)", hs, again, err)
		}
	})
}
