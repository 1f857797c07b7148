package freeport

import "testing"

// A port that is reserved is not given twice, though nothing listens on it.
func TestReserve(t *testing.T) {
	t.Parallel()
	const ports = 1_000 // of 6,000: chance alone would give some of them twice
	given := map[int]bool{}
	for range ports {
		p := For(t)
		if given[p] {
			t.Fatalf("port %d was given twice", p)
		}
		given[p] = true
		server, err := listen(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		if err := server.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPort_Close(t *testing.T) {
	t.Parallel()
	p, err := Reserve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if guard, err := listen(t.Context(), p.Number+1); err == nil {
		_ = guard.Close()
		t.Fatal("the port is not guarded")
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	guard, err := listen(t.Context(), p.Number+1)
	if err != nil {
		t.Fatal("the guard of a closed port stays: ", err)
	}
	_ = guard.Close()
}
