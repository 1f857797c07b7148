package rows

// Statements are the SQL texts for the rows of tables, each made at its first use.
type Statements map[Statement]string

// A Statement identifies a text: what it does, in the database's own terms, with which
// columns.
type Statement struct {
	Table   *Table
	Does    byte
	Columns uint64 // bit i is column i
}

// Made returns a text, and makes it at its first use.
func (m Statements) Made(s Statement, text func() string) string {
	made, ok := m[s]
	if !ok {
		made = text()
		m[s] = made
	}
	return made
}

// Inserted is the set of columns that have a value when a row is inserted: those that the
// database does not assign. Bit i is column i.
func (t *Table) Inserted() uint64 {
	return t.columns(func(c Column) bool { return !c.Auto })
}

// Keys is the set of columns of the primary key.
func (t *Table) Keys() uint64 {
	return t.columns(func(c Column) bool { return c.Key })
}

func (t *Table) columns(in func(Column) bool) (set uint64) {
	for i, c := range t.Columns {
		if in(c) {
			set |= 1 << i
		}
	}
	return set
}
