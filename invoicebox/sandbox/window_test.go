package sandbox

import (
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

// mostInAnyWindow is the definition, counted the slow way.
func mostInAnyWindow(instants []int64, length int64) int {
	most := 0
	for i, from := range instants {
		n := 0
		for _, at := range instants[i:] {
			if at-from < length {
				n++
			}
		}
		most = max(most, n)
	}
	return most
}

// drawInstants draws instants that never go back, often equal or exactly a
// window apart.
func drawInstants(t *rapid.T, length int64) []int64 {
	steps := rapid.SliceOfN(rapid.OneOf(
		rapid.Int64Range(0, 3), rapid.Just(length), rapid.Just(length-1), rapid.Int64Range(0, 2*length),
	), 0, 120).Draw(t, "steps")
	instants, at := make([]int64, len(steps)), int64(0)
	for i, s := range steps {
		at += s
		instants[i] = at
	}
	return instants
}

func TestTheCountIsThatOfTheDefinition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		length := rapid.Int64Range(1, 40).Draw(t, "length")
		instants := drawInstants(t, length)
		w := window{length: length}
		for i, at := range instants {
			w.add(at)
			if want := mostInAnyWindow(instants[:i+1], length); w.most != want {
				t.Fatalf("after %v: %d, want %d", instants[:i+1], w.most, want)
			}
		}
	})
}

// TestTheLimitHolds lets a meter decide and counts what it let through.
func TestTheLimitHolds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		length := rapid.Int64Range(1, 40).Draw(t, "length")
		limit := rapid.IntRange(1, 8).Draw(t, "limit")
		instants := drawInstants(t, length)
		m := newMeter(length, limit)
		var let []int64
		over := 0
		for i, at := range instants {
			inWindow := 0
			for _, before := range instants[:i] {
				if at-before < length {
					inWindow++
				}
			}
			if inWindow >= limit {
				over++
			}
			m.count(at)
			if m.full(at) {
				frees := m.admitted.frees(limit)
				probe := m.admitted
				probe.ring = append([]int64(nil), probe.ring...)
				if frees <= at || probe.held(frees-1) < limit || probe.held(frees) >= limit {
					t.Fatalf("at %d it is said to free at %d", at, frees)
				}
				continue
			}
			m.admitted.add(at)
			let = append(let, at)
		}
		if most := mostInAnyWindow(let, length); most > limit {
			t.Fatalf("let %d through, limit %d", most, limit)
		}
		if want := mostInAnyWindow(instants, length); m.counted.most != want || m.over != over {
			t.Fatalf("counted %d over %d, want %d over %d", m.counted.most, m.over, want, over)
		}
	})
}

func TestAWindowKeepsOneWindowOnly(t *testing.T) {
	w := window{length: 1000}
	for at := range int64(1_000_000) {
		w.add(at)
	}
	if len(w.ring) > 1024 || w.most != 1000 {
		t.Errorf("ring of %d, most %d", len(w.ring), w.most)
	}
}

func FuzzGlob(f *testing.F) {
	f.Add("a*b", "axxb")
	f.Add("*", "")
	f.Add("", "x")
	f.Add("**a*", "bab")
	f.Fuzz(func(t *testing.T, pattern, text string) {
		if len(pattern) > 40 || len(text) > 40 {
			return
		}
		want := pattern == "" || slowGlob(pattern, text)
		if got := globMatches(pattern, text); got != want {
			t.Errorf("%q against %q: %v", text, pattern, got)
		}
	})
}

// slowGlob is the definition of a pattern, as a table.
func slowGlob(pattern, text string) bool {
	fits := make([]bool, len(text)+1)
	fits[0] = true
	for i := range len(pattern) {
		next := make([]bool, len(text)+1)
		for j := range fits {
			if pattern[i] == '*' {
				next[j] = fits[j] || j > 0 && next[j-1]
			} else {
				next[j] = j > 0 && fits[j-1] && text[j-1] == pattern[i]
			}
		}
		fits = next
	}
	return fits[len(text)]
}

func TestDrawsLookLikeChance(t *testing.T) {
	const n = 20_000
	below, seen := 0, map[uint64]bool{}
	for i := range uint64(n) {
		v := seed(7).number("activate", "c", i)
		seen[v] = true
		if v < 1<<63 {
			below++
		}
	}
	if len(seen) != n || below < n*48/100 || below > n*52/100 {
		t.Errorf("%d different, %d below the middle", len(seen), below)
	}
	a, b := rand.New(rand.NewPCG(1, 2)), seed(7).stream("activate", "c", 1)
	if a.Uint64() == b.Uint64() {
		t.Error("the stream does not depend on what it is for")
	}
}

func TestBurstsComeAndGo(t *testing.T) {
	const second = int64(1e9)
	down, words := 0, map[string]int{}
	for at := int64(0); at < 24*3600*second; at += second {
		if f := seed(3).burstAt(at); f != nil {
			down++
			words[f.Word]++
		}
	}
	if share := float64(down) / (24 * 3600); share < 0.015 || share > 0.06 || len(words) != len(burstWords) {
		t.Errorf("down for %.3f of the time: %v", share, words)
	}
}

func TestProfilesDrawFromTheTable(t *testing.T) {
	for name, temper := range tempers {
		sum := 0
		for _, r := range temper.rates {
			sum += r.of
			if faultByWord(r.word) == nil {
				t.Errorf("%s: %s is not in the table", name, r.word)
			}
		}
		if sum > 5000 {
			t.Errorf("%s: %d of 10000 requests fail", name, sum)
		}
	}
	for _, word := range burstWords {
		if faultByWord(word) == nil {
			t.Errorf("%s is not in the table", word)
		}
	}
}
