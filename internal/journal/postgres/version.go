package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/schema"
)

const (
	// migrateWithin is for how long a migration tries to acquire its locks.
	migrateWithin = 2 * time.Minute
	// migratePause lets the workers pass between two tries.
	migratePause = time.Second
)

// migrating are settings of the connection that migrates the tables. It waits for a
// table's lock no longer than workers can wait behind it. Statements that need no such
// lock have no time bound.
var migrating = map[string]string{"lock_timeout": "2s", "statement_timeout": "0"}

// A tableVersion is the database's record of the version of its tables.
type tableVersion struct {
	version    int64 // 0: there are none
	readableBy int64 // the oldest program that can work with them; 0: the database does not say
}

// works reports whether a program that knows the tables up to version known can use these.
func (s tableVersion) works(known int64) bool {
	return s.version <= known || s.readableBy != 0 && s.readableBy <= known
}

// versioned migrates the tables, one replica at a time. Newer tables are accepted if they
// are readable by this program.
func (j *Journal) versioned(ctx context.Context) (err error) {
	config := j.config.Copy()
	addSettings(config, migrating)
	db := stdlib.OpenDB(*config, stdlib.OptionBeforeConnect(choosing(j.options.URL)))
	defer func() { err = errors.Join(err, db.Close()) }()
	files := j.options.migrations
	if files == nil {
		files = schema.PostgreSQL()
	}
	guard, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, uint64(2*migrateWithin/time.Second)))
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(goose.DialectPostgres, db, files, goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()), goose.WithSessionLocker(guard))
	if err != nil {
		return err
	}
	sources := p.ListSources()
	j.knows = sources[len(sources)-1].Version
	have, err := versionOf(ctx, db)
	if err != nil {
		return err
	}
	if have.version < j.knows {
		switch {
		case j.beside && have.version == 0:
			return fmt.Errorf("journal: the database contains no journal: %w", fs.ErrNotExist)
		case j.beside:
			return errors.New("journal: an older version of this program wrote the database: start the worker once to migrate it")
		}
		if err := j.foreign(ctx); err != nil {
			return err
		}
		if err := migrate(ctx, p); err != nil {
			return fmt.Errorf("journal: migrate the tables: %w", readable(err))
		}
		// A newer program may have migrated them at the same moment.
		if have, err = versionOf(ctx, db); err != nil {
			return err
		}
	}
	if !have.works(j.knows) {
		return journal.ErrNewer
	}
	if have.version > j.knows {
		j.log.Info("the database's tables are newer than this program, but compatible", "tables", have.version, "program", j.knows)
	}
	return nil
}

// migrate retries if it cannot acquire a lock in time, so that the workers are not
// blocked. Finished migrations are not repeated.
func migrate(ctx context.Context, p *goose.Provider) error {
	ctx, cancel := context.WithTimeout(ctx, 4*migrateWithin)
	defer cancel()
	for began := time.Now(); ; {
		_, err := p.Up(ctx)
		if err == nil || !transient(err) || time.Since(began) > migrateWithin {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(migratePause):
		}
	}
}

func versionOf(ctx context.Context, db *sql.DB) (s tableVersion, err error) {
	var there, says, unreleased bool
	err = db.QueryRowContext(ctx, `SELECT to_regclass('goose_db_version') IS NOT NULL, to_regclass('schema_version') IS NOT NULL,
		to_regclass('relay_turn') IS NOT NULL OR EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass('account') AND attname = 'closed_since')`).Scan(&there, &says, &unreleased)
	if err == nil && unreleased { // each build before the first release had the table or the column
		return s, fmt.Errorf("journal: the database: %w", schema.ErrUnreleased)
	}
	if err == nil && there {
		err = db.QueryRowContext(ctx, "SELECT coalesce(max(version_id), 0) FROM goose_db_version WHERE is_applied").Scan(&s.version)
	}
	if err == nil && says {
		err = db.QueryRowContext(ctx, "SELECT coalesce((SELECT max(readable_by) FROM schema_version HAVING max(version) >= $1), 0)", s.version).Scan(&s.readableBy)
	}
	if err != nil {
		return s, named(readable(err))
	}
	return s, nil
}

// present reads the database's clock and, with it, the oldest program that can use the
// tables. So no transaction that begins after an incompatible migration is made.
const present = presentSQL + ", (SELECT max(readable_by) FROM schema_version)"

// follows checks the row of present.
func (j *Journal) follows(r row) error {
	if r.int(1) > j.knows {
		return journal.ErrNewer
	}
	return nil
}
