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
	config, err := parse(o.URL)
	if err != nil {
		return err
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
// are there, and the first right on them that is missing. It asks for what a
// worker cannot do without; more may be missing.
const rights = `WITH s AS (SELECT to_regnamespace(quote_ident(current_schema()))::oid AS id), c AS (SELECT p.* FROM pg_class p, s WHERE p.relnamespace = s.id)
	SELECT coalesce(current_schema(), ''), coalesce(has_schema_privilege(current_schema(), 'CREATE'), FALSE),
		EXISTS (SELECT 1 FROM c WHERE c.relname = 'schema_version') AND EXISTS (SELECT 1 FROM c WHERE c.relname = 'operation_body'),
		coalesce((SELECT words || quote_ident(relname) FROM (
			SELECT c.relname, 'use sequence ' AS words FROM c WHERE c.relname IN ('attempt_id', 'event_id', 'operation_id', 'outbox_row')
				AND CASE c.relkind WHEN 'S' THEN NOT has_sequence_privilege(c.oid, 'USAGE') ELSE FALSE END
			UNION ALL SELECT c.relname, lower(x.needed) || ' rows of table ' FROM c CROSS JOIN unnest('{SELECT,INSERT}'::text[]) x (needed)
				WHERE c.relkind = 'r' AND c.relname IN ('account', 'announced', 'attempt', 'audit', 'event', 'inbox', 'operation', 'operation_body', 'outbox', 'outbox_pending', 'outbox_published', 'receipt', 'replica', 'shop')
				AND NOT has_table_privilege(c.oid, x.needed)) m ORDER BY relname, words LIMIT 1), '')`
