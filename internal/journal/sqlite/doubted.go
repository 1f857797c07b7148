package sqlite

// doubted remembers in little room which shops may have an operation in
// doubt: most successes have nothing older to supersede, and
// need no look into the database to know it. Shops share bits, and bits are
// never taken back: that costs a look.
type doubted [1 << 10]uint64

func (d *doubted) place(shop int64) (word *uint64, bit uint64) {
	n := uint64(shop) // #nosec G115 -- ids are above 0
	return &d[n/64%uint64(len(d))], 1 << (n % 64)
}

func (d *doubted) add(shop int64) {
	word, bit := d.place(shop)
	*word |= bit
}

func (d *doubted) has(shop int64) bool {
	word, bit := d.place(shop)
	return *word&bit != 0
}

// addAll is for operations that came to be in doubt together.
func (d *doubted) addAll() {
	for i := range d {
		d[i] = ^uint64(0)
	}
}
