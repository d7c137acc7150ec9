package text

import (
	"strings"
	"testing"
)

func TestMarkup(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, markup, want string }{
		{"tags", "<p>one</p><p>two</p>", " one  two "},
		{"inline", "f<b>oo</b> <a href='x>y'>bar</a>", "foo y'>bar"},
		{"entities", "&lt;a&gt; &amp;amp; &eacute;", "<a> &amp; é"},
		{"comment", "a<!-- <b> -->b", "ab"},
		{"script", "a<SCRIPT>if (1<2) {}</Script >b", "a b"},
		{"unclosed script", "a<script>b", "a "},
		{"style", "a<style>p{}</style>b", "a b"},
		{"no tag", "1 < 2 <3 <", "1 < 2 <3 <"},
		{"unclosed", "a<b", "a"},
		{"document type", "<!doctype html>a<!DOCTYPE b [<!ENTITY c '>'> ]>d", " a d"},
		{"data", "<![CDATA[a<b>&lt;]]>c<![CDATA[d", "a<b>&lt;cd"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := &work{ctx: t.Context()}
			if err := readHTML(w, []byte(tt.markup), ""); err != nil || string(w.text) != tt.want {
				t.Errorf("got %q, %v, want %q", w.text, err, tt.want)
			}
		})
	}
}

func TestCharsetIn(t *testing.T) {
	t.Parallel()
	for markup, want := range map[string]string{
		`<?xml version="1.0" encoding="ISO-8859-1"?>`:                               "iso-8859-1",
		`<META http-equiv=Content-Type content="text/html; charset=windows-1252" >`: "windows-1252",
		`<meta charset=utf-8>`: "utf-8",
		`<p>charset`:           "",
		`<p>`:                  "",
		strings.Repeat(" ", 1024) + `<meta charset=x>`: "",
	} {
		if got := charsetIn([]byte(markup)); got != want {
			t.Errorf("%s: %q, want %q", markup, got, want)
		}
	}
}
