package sqlite

import (
	"slices"

	"invoicebox-worker/internal/journal/rows"
)

// A rowCache caches rows of the file, so that a step need not read the rows that the
// step before it wrote. No other process writes them. A row that a transaction changes
// is removed, and cached again after the commit.
type rowCache struct {
	byTable map[*rows.Table]map[int64]any
	changed []cachedRow // of the present transaction
}

type cachedRow struct {
	table *rows.Table
	key   int64
	row   any
}

// maxCached bounds the cached rows of each table.
const maxCached = 20_000

func newRowCache() *rowCache { return &rowCache{byTable: make(map[*rows.Table]map[int64]any)} }

// find returns a cached row, nil for none. The caller must not change it.
func (c *rowCache) find(t *rows.Table, key int64) any { return c.byTable[t][key] }

// keep caches a row. At the bound it replaces any other.
func (c *rowCache) keep(t *rows.Table, key int64, row any) {
	m := c.byTable[t]
	if m == nil {
		m = make(map[int64]any)
		c.byTable[t] = m
	}
	if len(m) >= maxCached {
		for k := range m {
			delete(m, k)
			break
		}
	}
	m[key] = row
}

// change removes a row that was written. Commit caches its new value, which is a copy
// or, for a deleted row, nil.
func (c *rowCache) change(t *rows.Table, key int64, row any) {
	delete(c.byTable[t], key)
	c.changed = append(c.changed, cachedRow{t, key, row})
}

// commit caches the rows that were written; rollback drops them.
func (c *rowCache) commit() {
	for _, r := range c.changed {
		delete(c.byTable[r.table], r.key)
		if r.row != nil {
			c.keep(r.table, r.key, r.row)
		}
	}
	c.rollback()
}

func (c *rowCache) rollback() {
	clear(c.changed)
	c.changed = c.changed[:0]
}

// clearTable drops all rows of a table, because a statement may have changed any.
func (c *rowCache) clearTable(name string) {
	c.changed = slices.DeleteFunc(c.changed, func(r cachedRow) bool { return r.table.Name == name })
	for t := range c.byTable {
		if t.Name == name {
			delete(c.byTable, t)
		}
	}
}

// clear drops all rows, because a statement may have changed any.
func (c *rowCache) clear() {
	c.rollback()
	clear(c.byTable)
}
