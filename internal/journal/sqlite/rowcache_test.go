package sqlite

import (
	"testing"

	"invoicebox-worker/internal/journal/rows"
)

// What was read in a transaction that is taken back may be what that has written.
func TestRowCache_DropsWhatIsRolledBack(t *testing.T) {
	accounts := rows.TableOf[rows.Account]("account")
	for name, write := range map[string]func(*rowCache){
		"a row":      func(c *rowCache) { c.change(accounts, 1, &rows.Account{ID: 1, CircuitCount: 2}) },
		"by a table": func(c *rowCache) { c.clearTable("account") },
		"anything":   func(c *rowCache) { c.clear() },
	} {
		c := newRowCache()
		c.keep(accounts, 1, &rows.Account{ID: 1, CircuitCount: 1})
		write(c)
		c.keep(accounts, 1, &rows.Account{ID: 1, CircuitCount: 2}) // as it is in the transaction
		c.rollback()
		if row := c.find(accounts, 1); row != nil {
			t.Errorf("%s: %+v is remembered of a transaction that was taken back", name, row)
		}
	}
}

// A row that steps hold when a statement changes the table lacks what that has written.
func TestRowCacheReadsAgainBehindAStatement(t *testing.T) {
	accounts := rows.TableOf[rows.Account]("account")
	c := newRowCache()
	c.change(accounts, 1, &rows.Account{ID: 1})
	c.clearTable("account")
	c.change(accounts, 1, &rows.Account{ID: 1, CircuitCount: 1})
	c.commit()
	if row := c.find(accounts, 1); row != nil {
		t.Errorf("%+v is remembered", row)
	}
	c.change(accounts, 1, &rows.Account{ID: 1, CircuitCount: 1})
	c.commit()
	if c.find(accounts, 1) == nil {
		t.Error("nothing is remembered of the next transaction")
	}
}
