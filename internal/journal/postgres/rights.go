package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// MayWork tells why a worker could not make its tables, or write the ones that
// are there, in a database that can be reached; nil if it could. It changes
// nothing.
func MayWork(ctx context.Context, o Options) error {
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
	var schema, missing string
	var may, made bool
	if err := conn.QueryRow(ctx, rights).Scan(&schema, &may, &made, &missing); err != nil {
		return named(readable(err))
	}
	switch {
	case schema == "":
		return errors.New("journal: search_path names no schema that is there and that the user may use: make it first, owned by the user")
	case made && missing != "":
		return fmt.Errorf("journal: the user may not %s: have the owner of the tables grant it", missing)
	case !made && !may:
		return fmt.Errorf("journal: the user may not make tables in schema %q", schema)
	}
	return nil
}

// rights are the schema, whether tables can be made in it, whether the journal's
// are there, and the first right on them that lacks.
const rights = `WITH s AS (SELECT to_regnamespace(quote_ident(current_schema()))::oid AS id)
	SELECT coalesce(current_schema(), ''), coalesce(has_schema_privilege(current_schema(), 'CREATE'), FALSE),
		EXISTS (SELECT 1 FROM pg_class c, s WHERE c.relnamespace = s.id AND c.relname = 'schema_version'),
		coalesce((SELECT CASE c.relkind WHEN 'S' THEN 'use sequence ' ELSE lower(x.needed) || ' rows of table ' END || quote_ident(c.relname)
			FROM s JOIN pg_class c ON c.relnamespace = s.id AND c.relkind IN ('r', 'p', 'S') AND c.relname <> 'schema_version'
			CROSS JOIN unnest('{SELECT,INSERT,UPDATE,DELETE}'::text[]) x (needed)
			WHERE NOT CASE c.relkind WHEN 'S' THEN has_sequence_privilege(c.oid, 'USAGE') ELSE has_table_privilege(c.oid, x.needed) END
			ORDER BY c.relname, x.needed LIMIT 1), '')`
