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
	// migrateWithin is how long the locks of a migration are tried for.
	migrateWithin = 2 * time.Minute
	// migratePause lets the workers pass between two tries.
	migratePause = time.Second
)

// migrating are settings of the connection that brings the tables up to date. It
// waits for no table's lock longer than workers can wait behind it; what it does
// without such a lock may take its time.
var migrating = map[string]string{"lock_timeout": "2s", "statement_timeout": "0"}

// A tableVersion is what the database says about its tables.
type tableVersion struct {
	version    int64 // 0: there are none
	readableBy int64 // the oldest program that can work with them; 0: the database does not say
}

// works tells whether a program that knows the tables up to version known can
// work with these.
func (s tableVersion) works(known int64) bool {
	return s.version <= known || s.readableBy != 0 && s.readableBy <= known
}

// versioned brings the tables up to date, one replica at a time, or finds that
// they are newer and made to be worked with by this program, too.
func (j *Journal) versioned(ctx context.Context) (err error) {
	config := j.config.Copy()
	also(config, migrating)
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
			return fmt.Errorf("journal: the database holds none: %w", fs.ErrNotExist)
		case j.beside:
			return errors.New("journal: the database was written by an older version of this program: start the worker once, it brings the tables up to date")
		}
		if err := j.foreign(ctx); err != nil {
			return err
		}
		if err := migrate(ctx, p); err != nil {
			return fmt.Errorf("journal: bring the tables up to date: %w", readable(err))
		}
		// A newer program may have been there at the same moment.
		if have, err = versionOf(ctx, db); err != nil {
			return err
		}
	}
	if !have.works(j.knows) {
		return journal.ErrNewer
	}
	if have.version > j.knows {
		j.log.Info("the database's tables are newer than this program, which can work with them", "tables", have.version, "program", j.knows)
	}
	return nil
}

// migrate gives way to the workers where a lock cannot be had in time. What was
// done by then stays done.
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
		to_regclass('relay_turn') IS NOT NULL`).Scan(&there, &says, &unreleased)
	if err == nil && unreleased { // all builds before the first release had this table
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

// present is the database's clock and, read with it, the oldest program that can
// work with the tables: a transaction that begins after a migration that this
// one cannot follow is not made.
const present = presentSQL + ", (SELECT max(readable_by) FROM schema_version)"

// follows looks at what present said.
func (j *Journal) follows(r row) error {
	if r.int(1) > j.knows {
		return journal.ErrNewer
	}
	return nil
}
