// The command recommend prints a line for each recommended item: the item, its score and, if the model gives reasons, the item
// of the history that raised the score most.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"

	"recbole-multvae/recommend"
)

const usage = `recommend MODEL.onnx ITEM... [-k 10] [--exclude ITEMS] [--among ITEMS] [--gpu] [--no-check]

Recommend items to someone who liked these. ITEMS is a file with an item a line, or items separated by commas. --no-check opens a file with damaged weights too.
`

// shown is the most unknown items that are named.
const shown = 10

func main() {
	if err := run(os.Args[1:]); errors.Is(err, flag.ErrHelp) {
		fmt.Print(usage)
	} else if err != nil {
		fmt.Fprintf(os.Stderr, "%v.\n", err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	flags := flag.NewFlagSet("recommend", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // An error is one line, without the usage.
	k := flags.Int("k", 10, "")
	gpu := flags.Bool("gpu", false, "")
	unchecked := flags.Bool("no-check", false, "")
	var exclude, among []string
	flags.Func("exclude", "", func(text string) (err error) { exclude, err = readItems(text); return err })
	flags.Func("among", "", func(text string) (err error) { among, err = readItems(text); return err })
	positional, err := parse(flags, arguments)
	if err != nil {
		return err
	}
	if len(positional) == 0 {
		return errors.New("MODEL.onnx is missing: recommend MODEL.onnx ITEM... [-k 10]")
	}
	if *k < 1 {
		return fmt.Errorf("-k is %d: expected 1 or more", *k)
	}
	model, err := recommend.Load(positional[0], recommend.Config{GPU: *gpu, Unchecked: *unchecked})
	if err != nil {
		return err
	}
	defer model.Close()
	if *gpu {
		fmt.Fprintln(os.Stderr, "runs on", model.Provider)
	}
	if model.IDs {
		return show(model, *k, readID, positional[1:], exclude, among)
	}
	return show(model, *k, func(token string) (string, error) { return token, nil }, positional[1:], exclude, among)
}

// parse returns the positional arguments. They may stand between the flags; all arguments after -- are positional.
func parse(flags *flag.FlagSet, arguments []string) (positional []string, err error) {
	for len(arguments) > 0 {
		if err := flags.Parse(arguments); err != nil {
			return nil, err
		}
		rest := flags.Args()
		if read := len(arguments) - len(rest); read > 0 && arguments[read-1] == "--" || len(rest) == 0 {
			return append(positional, rest...), nil
		}
		positional, arguments = append(positional, rest[0]), rest[1:]
	}
	return positional, nil
}

// readItems returns the items of a file, one a line, or of a text, separated by commas.
func readItems(text string) ([]string, error) {
	separators := ","
	if file, err := os.Stat(text); err == nil && file.Mode().IsRegular() {
		content, err := os.ReadFile(text)
		if err != nil {
			return nil, err
		}
		text, separators = string(content), "\r\n"
	}
	return strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(separators, r) }), nil
}

func readID(text string) (int64, error) {
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("'%s' is no item id: the model takes RecBole's item ids", text)
	}
	return id, nil
}

// warnOfUnknown names the items of the lists that the model does not know. It ranks the whole catalogue for that.
func warnOfUnknown[T recommend.Item](model *recommend.Model, lists [3][][]T) error {
	all, err := recommend.Recommend(model, [][]T{{}}, math.MaxInt32, recommend.Options[T]{})
	if err != nil {
		return err
	}
	var padding T
	named := map[T]bool{padding: true}
	for _, item := range all.Items[0] {
		named[item] = true
	}
	var unknown []string
	for _, rows := range lists {
		for _, item := range slices.Concat(rows...) {
			if !named[item] {
				named[item] = true
				unknown = append(unknown, fmt.Sprint(item))
			}
		}
	}
	if len(unknown) > 0 {
		more := ""
		if left := len(unknown) - shown; left > 0 {
			unknown, more = unknown[:shown], fmt.Sprintf(" and %d more", left)
		}
		fmt.Fprintf(os.Stderr, "The model ignores items that it does not know: %s%s\n", strings.Join(unknown, ", "), more)
	}
	return nil
}

// show ranks and prints. The lists are the history, exclude and among; nil leaves a list out.
func show[T recommend.Item](model *recommend.Model, k int, read func(string) (T, error), lists ...[]string) error {
	var rows [3][][]T
	for at, list := range lists {
		if list == nil {
			continue
		}
		row := make([]T, len(list))
		for i, text := range list {
			var err error
			if row[i], err = read(text); err != nil {
				return err
			}
		}
		rows[at] = [][]T{row}
	}
	ranking, err := recommend.Recommend(model, rows[0], k, recommend.Options[T]{Exclude: rows[1], Among: rows[2]})
	if err != nil {
		return err
	}
	var none T
	if ranking.Items[0][0] == none {
		return errors.New("nothing to recommend: every item is in the history or excluded, " +
			"or --among names none that the model knows")
	}
	if err := warnOfUnknown(model, rows); err != nil {
		return err
	}
	for rank, item := range ranking.Items[0] {
		if item == none {
			break
		}
		because := ""
		if ranking.Reasons != nil {
			if reason, ok := recommend.Because(rows[0][0], ranking.Reasons[0][rank]); ok {
				because = fmt.Sprint("\tbecause of ", reason)
			}
		}
		fmt.Printf("%v\t%.4f%s\n", item, ranking.Scores[0][rank], because)
	}
	return nil
}
