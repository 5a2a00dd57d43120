#!/usr/bin/env bash
# The night of a shop: yesterday's model takes the new clicks, is compared with the one in service, and takes its place.
#
#   nightly.sh DATA MODELS [--key=value of the training ...]
#
# DATA is a folder as RecBole reads it, such as data/shop with the clicks so far in shop.inter. DATA/new.item, if it is
# there, has the items that came today and nobody has clicked; shop.item then says the same of the others. MODELS is the
# folder that the service watches; MODELS/.saved keeps the checkpoints and reports. Exit code 1: the new model is too
# different or too bad, and the old one stays; MIN_OVERLAP and MAX_LOSS say what is too much. FEATURES names the fields of
# new.item to compare. Any other failure leaves the old one too.
set -euo pipefail

data=$1 models=$2
shift 2
shop=$(basename "$data")
mkdir -p "$models/.saved"
began=$SECONDS
step() { echo "$1: $((SECONDS - began)) s" && began=$SECONDS; }

# The service takes folders with a number as name. The number of a version that was removed does not come again.
newest() { find "$@" -mindepth 1 -maxdepth 1 -printf '%f\n' | grep -Ex '[1-9][0-9]*' | sort -n | tail -n 1 || true; }
last=$(newest "$models") next=$(($(newest "$models" "$models/.saved") + 1))
saved=$models/.saved/$next new=$models/.$next
rm -rf "$models"/.[0-9]* # Of a night that was cut short.
warm=()
[ -z "$last" ] || warm=("--warm_start=$(echo "$models/.saved/$last"/*.pth)")

# Validation is on each user's newest clicks, from which yesterday's model has not learned.
order="{'split': {'RS': [0.8, 0.1, 0.1]}, 'group_by': 'user', 'order': 'TO', 'mode': 'full'}"
multvae-train --model=MultVAE --dataset="$shop" --data_path="$(dirname "$data")" --checkpoint_dir="$saved" \
    --eval_args="$order" "${warm[@]}" "$@"
step train
mkdir "$new"
today=()
[ ! -f "$data/new.item" ] || today=(--add-items "$data/new.item" ${FEATURES:+--features "$FEATURES"})
multvae-export "$saved"/*.pth "$new/model.onnx" "${today[@]}"
step export
if [ -n "$last" ]; then
    # The new model has learned from some of these clicks and the old one has not: this finds a broken model, no fine difference.
    multvae-compare "$models/$last/model.onnx" "$new/model.onnx" --histories "$data/$shop.inter" \
        --min-overlap "${MIN_OVERLAP:-0.2}" --max-loss "${MAX_LOSS:-0.05}" --html "$saved/compare.html"
    step compare
fi
mv "$new" "$models/$next" # The service finds it within -watch, or after SIGHUP. To go back: mv MODELS/3 MODELS/3.bad
echo "version $next"
