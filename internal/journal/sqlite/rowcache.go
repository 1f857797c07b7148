package sqlite

import (
	"slices"

	"invoicebox-worker/internal/journal/rows"
)

// A rowCache has rows as they are in the file. Nobody else writes them, so that the
// steps of an operation need not read what the step before them wrote. A row that a
// transaction changes is taken out, and kept again once that is committed.
type rowCache struct {
	byTable map[*rows.Table]map[int64]any
	changed []cachedRow // of the present transaction
}

type cachedRow struct {
	table *rows.Table
	key   int64
	row   any
}

// maxCached bounds the rows that are kept of each table.
const maxCached = 20_000

func newRowCache() *rowCache { return &rowCache{byTable: make(map[*rows.Table]map[int64]any)} }

// find returns a row, nil when it is not there. It is not to be changed.
func (c *rowCache) find(t *rows.Table, key int64) any { return c.byTable[t][key] }

// keep remembers a row, in the place of any other where there are many.
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

// change takes a row out that has been written; what it is now follows the commit. Row
// is a copy, nil for one that is gone.
func (c *rowCache) change(t *rows.Table, key int64, row any) {
	delete(c.byTable[t], key)
	c.changed = append(c.changed, cachedRow{t, key, row})
}

// commit remembers what was written; rollback forgets it.
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

// clearTable forgets all rows of a table: a statement may have changed any of them.
func (c *rowCache) clearTable(name string) {
	c.changed = slices.DeleteFunc(c.changed, func(r cachedRow) bool { return r.table.Name == name })
	for t := range c.byTable {
		if t.Name == name {
			delete(c.byTable, t)
		}
	}
}

// clear forgets all: a statement may have changed any row.
func (c *rowCache) clear() {
	c.rollback()
	clear(c.byTable)
}
