package main

import (
	"errors"
	"testing"
)

func TestReadRows(t *testing.T) {
	// The journal's rows have the numbers stored to 1.
	read := func(stored int64, limits *[]int) func(int64, int) ([]int64, error) {
		return func(before int64, limit int) (page []int64, err error) {
			*limits = append(*limits, limit)
			if before == 0 {
				before = stored + 1
			}
			for n := before - 1; n > 0 && len(page) < limit; n-- {
				page = append(page, n)
			}
			return page, nil
		}
	}
	for name, c := range map[string]struct {
		stored, before int64
		limit          int
		rows           int
		more           bool
		pages          int
	}{
		"Empty":         {stored: 0, limit: 3, pages: 1},
		"Fewer":         {stored: 2, limit: 3, rows: 2, pages: 1},
		"Exactly":       {stored: 3, limit: 3, rows: 3, pages: 1},
		"More":          {stored: 4, limit: 3, rows: 3, more: true, pages: 1},
		"After":         {stored: 9, before: 3, limit: 3, rows: 2, pages: 1},
		"SeveralPages":  {stored: 5000, limit: 2500, rows: 2500, more: true, pages: 3},
		"LastPageFull":  {stored: 2000, limit: 2500, rows: 2000, pages: 3},
		"LastPageShort": {stored: 1500, limit: 2500, rows: 1500, pages: 2},
	} {
		t.Run(name, func(t *testing.T) {
			var limits []int
			rows, more, err := readRows(c.limit, c.before, read(c.stored, &limits), func(n int64) int64 { return n })
			if err != nil || len(rows) != c.rows || more != c.more || len(limits) != c.pages {
				t.Fatalf("%d rows, more %t, %d pages, %v", len(rows), more, len(limits), err)
			}
			for i, n := range rows {
				if i > 0 && n != rows[i-1]-1 {
					t.Fatalf("row %d follows %d", n, rows[i-1])
				}
			}
			for _, l := range limits {
				if l < 1 || l > 1000 {
					t.Errorf("asked for %d rows at once", l)
				}
			}
		})
	}
	t.Run("Error", func(t *testing.T) {
		fault := errors.New("the journal is closed")
		if _, _, err := readRows(3, 0, func(int64, int) ([]int64, error) { return nil, fault }, func(n int64) int64 { return n }); !errors.Is(err, fault) {
			t.Error(err)
		}
	})
}
