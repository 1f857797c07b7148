package sandbox

// A window counts instants in a sliding window and remembers the most that any
// position of it has held. Two instants share a window when they lie less than
// its length apart. Instants must not go back; the caller's lock sees to that.
//
// It keeps the instants of one window only, so what it needs does not grow with
// the length of a run.
type window struct {
	length int64   // nanoseconds
	ring   []int64 // a power of two long
	head   int     // index of the oldest
	n      int
	most   int
}

// add counts one instant.
func (w *window) add(at int64) {
	w.expire(at)
	if w.n == len(w.ring) {
		w.grow()
	}
	w.ring[(w.head+w.n)&(len(w.ring)-1)] = at
	w.n++
	w.most = max(w.most, w.n)
}

// held returns how many instants share a window with at.
func (w *window) held(at int64) int {
	w.expire(at)
	return w.n
}

// frees returns the instant at which fewer than limit are held, if nothing is
// added until then.
func (w *window) frees(limit int) int64 {
	if w.n < limit || w.n == 0 {
		return 0
	}
	i := w.n - max(limit, 1)
	return w.ring[(w.head+i)&(len(w.ring)-1)] + w.length
}

func (w *window) expire(at int64) {
	for w.n > 0 && at-w.ring[w.head] >= w.length {
		w.head = (w.head + 1) & (len(w.ring) - 1)
		w.n--
	}
}

func (w *window) grow() {
	ring := make([]int64, max(16, 2*len(w.ring)))
	for i := range w.n {
		ring[i] = w.ring[(w.head+i)&(len(w.ring)-1)]
	}
	w.ring, w.head = ring, 0
}

// A rateMeter is all that is counted for one account or one IP address.
type rateMeter struct {
	limit    int    // requests in a window; negative: no limit
	arrived  window // by arrival
	counted  window // by the moment at which the server counts
	admitted window // those that used up the limit
	requests int
	limited  int // answered 429 because of this meter
	over     int // counted while the window already held the limit
}

func newMeter(length int64, limit int) rateMeter {
	return rateMeter{limit: limit, arrived: window{length: length}, counted: window{length: length}, admitted: window{length: length}}
}

// count notes a request that the server counts now.
func (m *rateMeter) count(at int64) {
	if m.limit >= 0 && m.counted.held(at) >= m.limit {
		m.over++
	}
	m.counted.add(at)
}

// full tells whether the limit is used up.
func (m *rateMeter) full(at int64) bool {
	return m.limit >= 0 && m.admitted.held(at) >= m.limit
}
