package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// CanBeMade tells why a worker could not make its tables in a database that can
// be reached; nil if it could. It changes nothing.
func CanBeMade(ctx context.Context, o Options) error {
	config, err := pgx.ParseConfig(o.URL)
	if err != nil {
		return errors.New("journal: the URL of the database cannot be read")
	}
	j := &Journal{bounds: usual}
	j.reaching(config)
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return named(readable(err))
	}
	defer func() { _ = conn.Close(ctx) }()
	var schema string
	var may bool
	if err := conn.QueryRow(ctx, "SELECT coalesce(current_schema(), ''), coalesce(has_schema_privilege(current_schema(), 'CREATE'), FALSE)").Scan(&schema, &may); err != nil {
		return named(readable(err))
	}
	switch {
	case schema == "":
		return errors.New("journal: search_path names no schema that is there and that the user may use: make it first, owned by the user")
	case !may:
		return fmt.Errorf("journal: the user may not make tables in schema %q", schema)
	}
	return nil
}
