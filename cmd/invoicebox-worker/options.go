package main

import (
	"fmt"
	"log/slog"

	"invoicebox-worker/internal/app"
	"invoicebox-worker/internal/config"
	"invoicebox-worker/internal/secretfile"
)

// options reads every file that the settings name, and builds the options of the service.
func (s *settings) options(logger *slog.Logger) (app.Options, error) {
	o := app.Options{Worker: s.Worker, Version: programVersion(), Logger: logger}
	if err := s.given.Require("kafka-brokers"); err != nil {
		return o, err
	}
	keys, err := s.watchedKeyset(logger)
	if err != nil {
		return o, err
	}
	o.Keyset, o.KeysetNow = keys.Last(), keys.Get
	if o.Kafka, err = s.kafka(logger); err != nil {
		return o, err
	}
	if s.InvoiceboxCAFile != "" {
		if o.InvoiceboxCAs, err = s.authorities("invoicebox-ca-file", s.InvoiceboxCAFile, logger); err != nil {
			return o, err
		}
	}
	if o.Accounts, err = s.accounts(logger); err != nil {
		return o, err
	}
	if o.CredentialsEndpoint, err = s.credentialsEndpoint(logger); err != nil {
		return o, err
	}
	if o.Vault, err = s.vault(logger); err != nil {
		return o, err
	}
	o.Files = s.files
	return o, nil
}

// accounts opens the files of every account.
func (s *settings) accounts(logger *slog.Logger) ([]app.Account, error) {
	list := s.given.Accounts
	place := func(i int, name string) string { return fmt.Sprintf("accounts[%d].%s", i, name) }
	if len(list) == 0 {
		if err := s.given.Require("partner-id", "token-file"); err != nil {
			return nil, err
		}
		list = []config.Account{{
			Name: "default", PartnerID: s.PartnerID, TokenFile: s.TokenFile, SigningKeyFile: s.SigningKeyFile,
			SigningAlgorithm: s.SigningAlgorithm, SigningEncoding: s.SigningEncoding,
		}}
		place = func(_ int, name string) string { return name }
	}
	var accounts []app.Account
	for i, a := range list {
		token, err := s.tokenFile(place(i, "token-file"), a.Name, a.TokenFile, logger)
		if err != nil {
			return nil, err
		}
		account := app.Account{Name: a.Name, PartnerID: a.PartnerID, Token: token.Get, RequestsPerWindow: a.RequestsPerWindow, Window: a.Window, CredentialsStore: a.CredentialsStore}
		if account.RequestsPerWindow == 0 {
			account.RequestsPerWindow = s.RequestsPerWindow
		}
		if account.Window == 0 {
			account.Window = s.Window
		}
		if a.SigningKeyFile != "" {
			key, err := s.secretFile(place(i, "signing-key-file"), a.SigningKeyFile, secretfile.Key, logger)
			if err != nil {
				return nil, err
			}
			account.Signing = &app.Signing{Key: key.Get, Algorithm: a.SigningAlgorithm, Encoding: a.SigningEncoding}
		}
		accounts = append(accounts, account)
	}
	return accounts, nil
}
