#!/bin/sh
# What is a network worth that has seen other classes? Trains one on eight classes of CIFAR-10, then on fifty images each
# of the two others: from its weights (all of them, and the head alone), and from nothing.
#
#   bench/fine_tune.sh cifar10-jpeg.tar.gz [FOLDER] [EPOCHS ON EIGHT CLASSES]
set -eu
archive=$1
work=${2:-$(mktemp -d)}
epochs=${3:-3}
ocellus=${OCELLUS:-ocellus}
new="cat truck" # The two that are left out; each other class has a relative among the eight.

mkdir -p "$work/all" "$work/eight" "$work/two/train" "$work/two/val"
[ -d "$work/all/cifar10" ] || tar xzf "$archive" -C "$work/all"
for part in train test; do
    mkdir -p "$work/eight/$part"
    for class in "$work/all/cifar10/$part"/*; do
        name=$(basename "$class")
        case " $new " in
        *" $name "*) ;;
        *) [ -e "$work/eight/$part/$name" ] || cp -rl "$class" "$work/eight/$part/$name" ;;
        esac
    done
done
for name in $new; do
    mkdir -p "$work/two/train/$name"
    # The first fifty in the order of their names: the same in every run.
    for picture in $(ls "$work/all/cifar10/train/$name" | head -50); do
        cp "$work/all/cifar10/train/$name/$picture" "$work/two/train/$name/"
    done
    [ -e "$work/two/val/$name" ] || cp -rl "$work/all/cifar10/test/$name" "$work/two/val/$name"
done

"$ocellus" train "$work/eight" --model resnet20 --epochs "$epochs" --out "$work/runs/eight" --resume
begin="--weights $work/runs/eight/best.safetensors"
for seed in 0 1 2; do
    common="--epochs 20 --seed $seed"
    "$ocellus" train "$work/two" --model resnet20 $common --out "$work/runs/scratch$seed"
    "$ocellus" train "$work/two" $begin --trunk-lr 0.1 $common --out "$work/runs/tuned$seed"
    "$ocellus" train "$work/two" $begin --freeze trunk $common --out "$work/runs/head$seed"
done
for kind in scratch tuned head; do
    for seed in 0 1 2; do
        printf '%s seed %s: ' "$kind" "$seed"
        sed -n 's/.*"top1": \([0-9.]*\).*/\1/p' "$work/runs/$kind$seed/metrics.json" | head -1
    done
done
